"""The command: `python -m halfnas.comparison`; conf/compare.yaml lists the settings."""

from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from halfnas.comparison import benchmark, figures, prunings
from halfnas.data import ImageDataset, PruningData
from halfnas.errors import ConfigError
from halfnas.pruning.importance import IMPORTANCES
from halfnas.pruning.importance_pruner import ImportancePruner
from halfnas.pruning.pruner import Pruner
from halfnas.pruning.ranking import RankingFunction
from halfnas.pruning.sample import Sample, split
from halfnas.reporting.table import Table
from halfnas.runs.files import write_text
from halfnas.spaces import Mask, NASBench201Space, SearchSpace
from halfnas.spaces.candidates import Indices
from halfnas.spaces.load import CONF
from halfnas.spaces.trained import TrainedTable

WIDTH = 160  # a table that is cut off says nothing
PARTS = ("prunings", "estimates", "ratings", "survivors")
FORMATS = {
    "seeds": ".0f", "repeats": ".0f", "seconds": ".1f", "peak MiB": ".0f", "agreement reported": ".3f",
    "agreement of seeds": ".3f", "lowest": ".3f", "highest": ".3f", "rho of seeds": ".2f", "masks": ".0f",
    "mean": ".4f", "5%": ".4f", "median": ".4f", "95%": ".4f", "skewness": ".2f", "best": ".4f", "best 1% left": ".3f",
    "worst 10% left": ".3f", "architectures": ".3f", "rated": ".0f", "std of mean": ".4f", "std of best 1% left": ".3f",
    "std of worst 10% left": ".3f", "different masks": ".0f", "tau": ".3f", "tau low": ".3f",
    "tau high": ".3f", "rho": ".3f", "rho low": ".3f", "rho high": ".3f", "not finite": ".0f",
    "seconds each": ".3f", "mean rho": ".2f", "lowest rho": ".2f", "highest rho": ".2f",
    "exact seconds": ".1f", "taylor seconds": ".1f",
}  # fmt: skip


class Comparison:
    """One comparison: what is compared, on what, and where the results go."""

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        if unknown := sorted(set(cfg.parts) - set(PARTS)):
            raise ConfigError([f"`parts` must be some of {', '.join(PARTS)}, got {unknown[0]!r}"])
        self.cfg = cfg
        self.folder = folder
        self.console = Console(width=max(Console().width, WIDTH))
        self.tables: list[Table] = []
        try:
            self.dataset: ImageDataset = instantiate(cfg.dataset, _convert_="all")
            self.dataset.prepare()
            self.pruners: dict[str, Pruner] = {
                name: instantiate(node, _convert_="all") for name, node in cfg.pruners.items()
            }
        except ValueError as error:
            raise ConfigError([str(error)]) from None
        self.rankers: dict[str, RankingFunction] = {
            key: ranker
            for pruner in self.pruners.values()
            if isinstance(pruner, ImportancePruner)
            for key, ranker in pruner.rankers.items()
        }

    def run(self) -> None:
        """Run all parts that are asked for, in the order of PARTS."""
        for part in PARTS:
            if part in self.cfg.parts:
                getattr(self, part)()
        self.console.print(f"Tables and figures: {self.folder}", soft_wrap=True, markup=False)

    def prunings(self) -> None:
        """Measure cost and reliability of every pruner on `space`."""
        space, runs = self._space(), {}
        memory = {}
        for name, pruner in track(self.pruners.items(), "prunings", console=self.console):
            scoring = self._space(**pruner.network)
            settings: Any = {"ratio": self.cfg.ratio}
            runs[name] = [
                prunings.run(pruner, space, scoring, self.dataset, **settings, seed=s) for s in self.cfg.seeds
            ]
            memory[name] = prunings.scoring_memory(pruner, space, scoring, self.dataset)
            for run in runs[name]:
                run.mask.save(self.folder / "masks" / f"{name}-{run.seed}.json")
            rows = prunings.summarize(runs, memory, space)
            title = f"Pruning {space.name}, {self.cfg.ratio:.0%} kept, on {self.dataset.name}"
            Table(title, rows, FORMATS).write_csv(self.folder / "prunings.csv")  # an interrupted run leaves what it has
        self._publish("prunings", title, rows)
        matrix = prunings.agreements(runs, space)
        named = prunings.agreement_rows(list(runs), matrix)
        Table("Agreement", named, {}).write_csv(self.folder / "agreements.csv")
        figures.save(figures.matrix(list(runs), matrix), self.folder / "agreements.png")
        figures.save(figures.reliability(rows), self.folder / "reliability.png")

    def estimates(self) -> None:
        """Measure how far first-order importance stands in for exact removal."""
        space = self._space()
        rows: list[dict[str, Any]] = []
        for name, pruner in track(self.pruners.items(), "estimates", console=self.console):
            scoring = self._space(**pruner.network)
            measured = [prunings.estimate(pruner, space, scoring, self.dataset, seed=s) for s in self.cfg.seeds]
            found = [each for each in measured if each is not None]
            if not found:
                continue
            rhos = [each.rho for each in found]
            seconds = {f"{key} seconds": float(np.median([each.seconds[key] for each in found])) for key in IMPORTANCES}
            rows.append(
                {
                    "pruner": name, "seeds": len(found), "mean rho": float(np.mean(rhos)), "lowest rho": min(rhos),
                    "highest rho": max(rhos), **seconds,
                }
            )  # fmt: skip
            Table("Estimates", rows, FORMATS).write_csv(self.folder / "estimates.csv")
        self._publish("estimates", f"Scores by taylor against exact, all of {space.name}, one round", rows)

    def ratings(self) -> None:
        """Rate architectures of NAS-Bench-201 with every ranking function, against their accuracy."""
        settings = self.cfg.ratings
        space = NASBench201Space(settings.init_channels, settings.num_cells, self.dataset.num_classes)
        trained = self._trained(space)
        rng = np.random.default_rng(settings.seed)
        chosen = rng.choice(len(trained), size=settings.num_architectures, replace=False)
        samples = {name: self._sample(name, settings) for name in self.rankers}
        rated, seconds = [], dict.fromkeys(self.rankers, 0.0)
        for number, index in enumerate(track(chosen.tolist(), "ratings", console=self.console)):
            architecture = trained.architectures[index]
            found = benchmark.rate(self.rankers, space, architecture, samples, settings.seed + number)
            rated.append({name: rating.value for name, rating in found.items()})
            for name, rating in found.items():
                seconds[name] += rating.seconds / len(chosen)
        rows = []
        for name in self.rankers:
            values = np.array([each[name] for each in rated])
            tau, rho = benchmark.correlations(values, trained.accuracies[chosen], settings.seed)
            rows.append(
                {
                    "ranking function": name, "rated": len(chosen), "tau": tau.value, "tau low": tau.low,
                    "tau high": tau.high,
                    "published": settings.published_tau.get(name),
                    "rho": rho.value, "rho low": rho.low, "rho high": rho.high,
                    "not finite": int((~np.isfinite(values)).sum()), "seconds each": seconds[name],
                }
            )  # fmt: skip
        title = (
            f"NAS-Bench-201, {trained.measured}: {len(chosen)} architectures, C = {settings.init_channels}, "
            f"{settings.num_cells} cells, {settings.num_batches} x {settings.batch_size} images"
        )
        self._publish("ratings", title, sorted(rows, key=lambda row: -row["tau"]))
        all_rated = [
            {"architecture": trained.architectures[i], "accuracy": float(trained.accuracies[i]), **values}
            for i, values in zip(chosen, rated, strict=True)
        ]
        Table("Ratings", all_rated, {}).write_csv(self.folder / "all_ratings.csv")
        figures.save(figures.correlations(rows), self.folder / "ratings.png")

    def survivors(self) -> None:
        """Measure what every pruner leaves of NAS-Bench-201."""
        shape = {"num_classes": self.dataset.num_classes, "in_channels": self.dataset.in_channels}
        space = NASBench201Space(16, 15, **shape)
        trained = self._trained(space)
        everything = benchmark.survival(trained, trained.left_by(Mask.full(space)))
        rows: list[dict[str, Any]] = [{"pruner": "nothing pruned", **benchmark.mean_survival([everything])}]
        left: dict[str, list[Indices]] = {}
        for name, pruner in track(self.pruners.items(), "survivors", console=self.console):
            scoring = NASBench201Space(**{"init_channels": 16, "num_cells": 15, **shape, **pruner.network})
            number = self.cfg.survivors.num_seeds.get(name)
            seeds = self.cfg.seeds if number is None else range(number)
            masks = [
                prunings.run(pruner, space, scoring, self.dataset, ratio=self.cfg.ratio, seed=seed).mask
                for seed in seeds
            ]
            for mask in masks:
                mask.save(self.folder / "masks" / space.name / f"{name}-{mask.seed}.json")
            left[name] = [trained.left_by(mask) for mask in masks]
            found = benchmark.mean_survival([benchmark.survival(trained, each) for each in left[name]])
            different = len({tuple(mask.kept.items()) for mask in masks})
            rows.append({"pruner": name, **found, "different masks": different})
        self._publish("survivors", f"What pruning leaves of NAS-Bench-201, {trained.measured}", rows)
        distributions = {name: np.concatenate([trained.accuracies[i] for i in each]) for name, each in left.items()}
        figure = figures.distributions({"nothing pruned": trained.accuracies, **distributions})
        figures.save(figure, self.folder / "survivors.png")

    def _space(self, **sizes: Any) -> SearchSpace:
        shape = {"num_classes": self.dataset.num_classes, "in_channels": self.dataset.in_channels}
        return instantiate(self.cfg.space, **{**shape, **sizes}, _convert_="all")

    def _trained(self, space: NASBench201Space) -> TrainedTable:
        try:
            return TrainedTable.load(self.cfg.accuracies, space, self.dataset.name)
        except ValueError as error:
            raise ConfigError([f"`accuracies`: {error}"]) from None

    def _sample(self, name: str, settings: DictConfig) -> Sample:
        size = settings.batch_sizes.get(name, settings.batch_size)
        data = PruningData(self.dataset, batch_size=size * settings.num_batches, num_batches=1, seed=settings.seed)
        images, labels = next(iter(data.train_dataloader()))
        return Sample(split(images, labels, size), settings.seed)

    def _publish(self, name: str, title: str, rows: list[dict[str, Any]]) -> None:
        table = Table(title, rows, FORMATS)
        table.write_csv(self.folder / f"{name}.csv")
        self.console.print(table.rich())
        self.tables.append(table)
        write_text(self.folder / "report.md", "\n".join(each.markdown() for each in self.tables))


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="compare")
def main(cfg: DictConfig) -> None:
    """Compare pruners and ranking functions as the settings say."""
    if cfg.num_threads is not None:
        torch.set_num_threads(cfg.num_threads)
    Comparison(cfg, Path(HydraConfig.get().runtime.output_dir)).run()


if __name__ == "__main__":
    main()
