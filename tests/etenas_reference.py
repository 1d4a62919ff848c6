"""The scoring networks of ETENAS as plain functions of tensors, written after what its code does.

Names of parameters are those of our supernet. Source: Rufaim/ETENAS at 1c5a702, lib/models.
"""

import torch
from torch.nn import functional as F


def norm(p, name, x):
    return F.batch_norm(x, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)


def relu_conv_bn(p, name, x, **how):
    return norm(p, f"{name}.2", F.conv2d(x.relu(), p[f"{name}.1.weight"], **how))


def separable(p, name, x, first, **how):
    """ReLU, depthwise, pointwise, batch norm: modules `first` to `first` + 3 of an operation."""
    depthwise = F.conv2d(x.relu(), p[f"{name}.{first + 1}.weight"], groups=x.shape[1], **how)
    return norm(p, f"{name}.{first + 3}", F.conv2d(depthwise, p[f"{name}.{first + 2}.weight"]))


def factorized_reduce(p, name, x):
    x = x.relu()
    shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]  # a row and a column of zeros, whatever the size
    halves = [F.conv2d(part, p[f"{name}.conv_{i}.weight"], stride=2) for i, part in ((1, x), (2, shifted))]
    return norm(p, f"{name}.bn", torch.cat(halves, dim=1))


def average(x, stride):
    """A mean of 3x3 pixels that are there, without a batch norm."""
    ones = torch.ones_like(x)
    total = [F.avg_pool2d(part, 3, stride, padding=1, count_include_pad=True) for part in (x, ones)]
    return total[0] / total[1]


def darts_operation(p, name, operation, x, stride):
    kernel = 5 if "5x5" in operation else 3
    if operation == "skip_connect":
        return x if stride == 1 else factorized_reduce(p, name, x)
    if operation == "max_pool_3x3":
        return F.max_pool2d(x, 3, stride, padding=1)
    if operation == "avg_pool_3x3":
        return average(x, stride)
    if operation.startswith("sep"):
        x = separable(p, name, x, 0, stride=stride, padding=kernel // 2)
        return separable(p, name, x, 4, padding=kernel // 2)
    return separable(p, name, x, 0, stride=stride, padding=kernel - 1, dilation=2)


def head(p, x, name="head"):
    pooled = norm(p, f"{name}.0", x).relu().mean(dim=(2, 3))
    return F.linear(pooled, p[f"{name}.4.weight"], p[f"{name}.4.bias"])


def of_darts(p, images, kept):
    """A normal cell of C = 1 channel and a reduction cell of 2; all that is kept of an edge has the same weight."""
    s0 = s1 = norm(p, "stem.bn", F.conv2d(images, p["stem.conv.weight"], padding=1))
    for number, kind in enumerate(("normal", "reduce")):
        cell = f"layers.{number}"
        states = [relu_conv_bn(p, f"{cell}.preprocess.{i}", s) for i, s in enumerate((s0, s1))]
        edge = 0
        for node in range(4):
            total = 0
            for source in range(2 + node):
                stride = 2 if kind == "reduce" and source < 2 else 1
                for operation in kept[kind][edge]:
                    name = f"{cell}.edges.{edge}.operations.{operation}"
                    total = total + darts_operation(p, name, operation, states[source], stride) / len(kept[kind][edge])
                edge += 1
            states.append(total)
        s0, s1 = s1, torch.cat(states[2:], dim=1)
    return head(p, s1)


def of_nasbench201(p, images, kept):
    """A cell of C = 3, a residual block, a cell of 6, a residual block, a cell of 12."""
    x = norm(p, "stem.bn", F.conv2d(images, p["stem.conv.weight"], padding=1))
    for number in range(5):
        layer = f"layers.{number}"
        if number % 2:
            y = relu_conv_bn(p, f"{layer}.convolutions.0", x, stride=2, padding=1)
            y = relu_conv_bn(p, f"{layer}.convolutions.1", y, padding=1)
            x = y + F.conv2d(F.avg_pool2d(x, 2), p[f"{layer}.shortcut.1.weight"])
            continue
        states, edge = [x], 0
        for node in range(1, 4):
            total = 0
            for source in range(node):
                for operation in kept["cell"][edge]:
                    name, z = f"{layer}.edges.{edge}.operations.{operation}", states[source]
                    if operation == "nor_conv_1x1":
                        z = relu_conv_bn(p, name, z)
                    elif operation == "nor_conv_3x3":
                        z = relu_conv_bn(p, name, z, padding=1)
                    elif operation == "avg_pool_3x3":
                        z = average(z, 1)
                    total = total + z / len(kept["cell"][edge])
                edge += 1
            states.append(total)
        x = states[-1]
    return head(p, x)


#: space -> its network and the C that the scripts give it
REFERENCES = {"darts": (of_darts, 1), "nasbench201": (of_nasbench201, 3)}
