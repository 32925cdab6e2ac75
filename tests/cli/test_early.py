"""What is wrong with the words of a command is told before anything heavy is imported, and unknown words are mended."""

import json
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_S

HEAVY = (
    *("torch", "openvino", "onnxruntime", "segmentation_models_pytorch", "tritonclient", "monai"),
    "pytorch_lightning",
)
MOST_MODULES = 1500  # with a report's matplotlib, all that `bench` needs before it knows its runs
SCRIPT = """
import json, os, sys
import medseg.cli.main
from medseg.tasks import network_words

network_words()  # every task's modules, once
for words in json.load(sys.stdin):
    if os.fork():
        os.wait()
        continue
    sys.argv = ["medseg", *words.split()]
    try:
        medseg.cli.main.main()
    except SystemExit as ended:
        print(json.dumps([words, ended.code, list(sys.modules)]), flush=True)
    os._exit(0)
"""


def asked(lines: list[str], folder: Path) -> dict[str, tuple[str, set[str]]]:
    """What each command ends with, and the modules that were imported for it."""
    command = [sys.executable, "-c", SCRIPT]
    text = json.dumps(lines)
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=PATIENCE_S, check=True, cwd=folder
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {words: (said, set(modules)) for words, said, modules in found}


NO_RUN, NO_PATH, NOTHING = "is not a run", "does not exist", "holds no patients of"
WRONG = {
    "predict lunna ct.mhd --run none --out x": "did you mean 'luna'?",
    "predict luna ct.mhd --run none --out x": NO_RUN,
    "predict luna none.mhd --url http://127.0.0.1:1 --out x": NO_PATH,
    "predict luna ct.mhd --url http://127.0.0.1:1 --out x --overwrte": "did you mean --overwrite?",
    "evaluate luna nowhere --submission ct.mhd": NO_PATH,
    "evaluate brain-lgg empty --run none": NO_RUN,
    "evaluate picture empty --run none": NO_RUN,
    "export none --fp16": NO_RUN,
    "verify empty": NO_RUN,
    "doctor --run none": NO_RUN,
    "serve luna": "got no --run",
    "serve luna --run empty": NO_RUN,
    "serve luna --run none --engine openvin": NO_RUN,
    "serve luna --engine openvin": "did you mean 'openvino'?",
    "serve luna --precision fp61": "did you mean 'fp16'?",
    "bench luna nowhere --url http://127.0.0.1:1": NO_PATH,
    "bench luna --run none": NO_RUN,
    "train luna-sgment empty --out x": "did you mean 'luna-segment'?",
    "train luna-segment nowhere --out x": NO_PATH,
    "train luna-segment empty --out x": NOTHING,
    "train picture empty --out x --classes a": NOTHING,
    "train stas-a empty --out x --from none": NO_RUN,
    "sweep brain-lgg empty --out x --grid loss=dice": NOTHING,
    "import nnunett ct.mhd --out x": "did you mean 'nnunet'?",
    "import luna-segment nowhere --out x": NO_PATH,
    "data check gi-tract empty": NOTHING,
    "data phantom stass --out x": "did you mean 'stas'?",
    "info volum": "did you mean 'volume'?",
}


def test_a_wrong_word_is_told_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "ct.mhd").touch()
    found = asked(list(WRONG), tmp_path)
    assert {words: said for words, (said, _) in found.items() if WRONG[words] not in said} == {}
    assert {words: modules & set(HEAVY) for words, (_, modules) in found.items() if modules & set(HEAVY)} == {}
    assert max(len(modules) for _, modules in found.values()) < MOST_MODULES
    assert found.keys() == WRONG.keys() and not (tmp_path / "x").exists()


def test_nothing_heavy_is_imported_for_info() -> None:
    heavy = ("SimpleITK", "pydicom", "scipy.ndimage", "scipy.stats", "nibabel", "joblib", "tifffile", "matplotlib")
    code = f"import sys, medseg.cli.info as i; i.info(); print(set({heavy + HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
