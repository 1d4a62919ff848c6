"""What a worker of Ray's does before its first job."""

import os

#: The variable of the environment that names the folder of the launch, see conf/hydra/launcher/ray.yaml.
LAUNCHED_IN = "HALFNAS_LAUNCHED_IN"


def enter() -> None:
    """Go to the folder of the launch, which paths of settings are relative to; Ray's workers begin in their node's.

    Raises:
        OSError: the node has no such folder: it is on no file system that the nodes share.
    """
    os.chdir(os.environ[LAUNCHED_IN])
