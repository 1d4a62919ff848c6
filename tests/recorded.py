"""What is needed to compare a training with one that was recorded: given weights, and a few numbers that tell all."""

import torch


@torch.no_grad()
def give_weights(module):
    """Weights and architecture parameters drawn by name, so that whatever order they are made in does not count."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(module.named_parameters()):
        scale = 1e-3 if name.split(".")[-2] in ("alpha", "beta") else 0.3
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def fingerprint(module):
    """Random projections of the architecture, the weights and the running statistics: a change anywhere shows."""
    generator = torch.Generator().manual_seed(2)
    sums = {"architecture": 0.0, "weights": 0.0, "statistics": 0.0}
    for name, value in sorted(module.state_dict().items()):
        parts = name.split(".")
        if not value.is_floating_point():
            continue
        kind = "statistics" if parts[-1].startswith("running") else "weights"
        kind = "architecture" if parts[-2] in ("alpha", "beta") else kind
        sums[kind] += (value.double() * torch.randn(value.shape, generator=generator, dtype=torch.float64)).sum().item()
    return sums
