"""What a sweep of Optuna's goes on with. Trials are told their values here, without jobs."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.config.schema import register
from halfnas.errors import Busy
from halfnas.jobs.lock import locked
from halfnas.jobs.optuna import FOLDER, _held, go_on
from halfnas.spaces.load import CONF

optuna = pytest.importorskip("optuna")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # Optuna 2 under SQLAlchemy 2
]

SEARCHED = ["ratio=choice(0.5,1)"]
SPACE = {
    "rate": optuna.distributions.LogUniformDistribution(1e-3, 1),
    "ratio": optuna.distributions.CategoricalDistribution(["0.5", "1"]),
}


@pytest.fixture
def begin(tmp_path):
    """begin(*typed, overrides=...): the sweeper's settings of a launch in a folder with an odd name."""
    folder = tmp_path / "50% {of} it? #1,='$"
    folder.mkdir()
    register()

    def launch(*typed, overrides=SEARCHED, sweep="hparams_search=optuna"):
        _held.close()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [sweep, *typed, "hydra.job.num=0"], return_hydra_config=True)
        OmegaConf.update(cfg, "hydra.sweep.dir", str(folder))
        go_on(cfg, folder, overrides)
        return cfg.hydra.sweeper

    yield launch
    _held.close()


def study_of(sweeper):
    """As the plugin has it."""
    return optuna.create_study(
        study_name=sweeper.study_name, storage=instantiate(sweeper.storage), sampler=instantiate(sweeper.sampler),
        directions=["maximize"], load_if_exists=True,
    )  # fmt: skip


def draw(study):
    trial = study.ask()
    for name, distribution in SPACE.items():
        trial._suggest(name, distribution)
    return trial


def test_what_is_left_is_run_and_what_came_to_nothing_first(begin, tmp_path):
    first = begin()
    assert (first.n_trials, first.sampler.seed) == (20, 0)
    study = study_of(first)
    done, failed, told, running = [draw(study) for _ in range(4)]
    study.tell(done, 0.5)
    study.tell(failed, state=optuna.trial.TrialState.FAIL)
    study.tell(told, 0.25)
    assert [path.name for path in tmp_path.glob(f"*/{FOLDER}/study.db")] == ["study.db"]

    second = begin()
    assert (second.n_trials, second.sampler.seed) == (18, 4)
    study = study_of(second)
    assert [trial.state.name for trial in study.trials[:4]] == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]
    again = [draw(study).params for _ in range(2)]
    assert again == [failed.params, running.params]
    drawn = draw(study).params
    assert drawn not in [trial.params for trial in (done, failed, told, running)]


def test_a_trial_is_put_in_line_once(begin):
    draw(study_of(begin()))
    for _ in range(3):
        study = study_of(begin())
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]


def test_a_trial_that_was_done_the_second_time_is_not_tried_a_third(begin):
    draw(study_of(begin()))
    study = study_of(begin())
    study.tell(draw(study), 1.0)
    begin()
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_no_trial_is_left(begin):
    study = study_of(begin("hydra.sweeper.n_trials=2"))
    for _ in range(3):
        study.tell(draw(study), 1.0)
    assert begin("hydra.sweeper.n_trials=2").n_trials == 0
    assert begin("hydra.sweeper.n_trials=5").n_trials == 2


def test_other_settings_are_a_study_of_their_own(begin):
    first = begin()
    draw(study_of(first))
    assert begin(overrides=[*SEARCHED, "ckpt=last"]).study_name == first.study_name
    other = begin(overrides=[*SEARCHED, "seed=1"])
    assert other.study_name != first.study_name
    assert (other.n_trials, other.sampler.seed) == (20, 0)
    assert study_of(other).trials == []
    assert begin("hydra.sweeper.direction=minimize").study_name != first.study_name


def test_a_url_of_ones_own(begin, tmp_path):
    typed = f"hydra.sweeper.storage=sqlite:///{tmp_path / 'mine.db'}"
    draw(study_of(begin(typed)))
    assert (tmp_path / "mine.db").is_file()
    assert begin(typed).sampler.seed == 1


def test_a_grid_is_tried_whole(begin):
    """Its sampler takes a trial that was left for one that was tried."""
    typed = ("hydra/sweeper/sampler=grid", "hydra.sweeper.storage=sqlite:///mine.db")
    assert begin(*typed, sweep="hydra/sweeper=optuna").storage is None


@pytest.mark.parametrize("sweep", ["hydra/sweeper=basic", "hydra/sweeper=optuna"])
def test_nothing_is_kept_where_nobody_asks_for_it(begin, tmp_path, sweep):
    begin(sweep=sweep)
    assert not list(tmp_path.glob(f"*/{FOLDER}"))


def test_two_processes_do_not_run_one_study(begin, tmp_path):
    """The trial that the first one runs is none that was left."""
    [folder] = tmp_path.iterdir()
    (folder / FOLDER).mkdir()
    code = "import sys; from pathlib import Path; from halfnas.jobs.lock import locked\n" \
           "with locked(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"  # fmt: skip
    command = [sys.executable, "-c", code, str(folder / FOLDER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(Busy, match=f"process {process.pid}"):
            begin()
        process.communicate()
    begin()
    with locked(folder):  # which is another lock
        pass
