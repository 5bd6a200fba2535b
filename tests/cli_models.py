"""Where tests of whole commands find models."""
import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def golden_places():
    """The folder of golden data, then the copy in the tree, which holds part of it."""
    return [p for p in (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")), HERE / "golden") if p.is_dir()]


def golden(relative):
    """The path of "gguf/smollm2", None when neither place has it."""
    return next((p / relative for p in golden_places() if (p / relative).exists()), None)


def smollm2():
    """SmolLM2-135M-Instruct.Q4_1.gguf as script/try keeps it, or what HOULE_SMOLLM2 names; None when it is not there."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    path = pathlib.Path(os.environ.get("HOULE_SMOLLM2") or cache / "houle" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    return path if path.is_file() else None
