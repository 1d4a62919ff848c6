"""What can happen to a file of a run, and which of it a reader has to say."""

import json
import os
import random

NESTED = 100_000
#: What the files of a run are made of: JSON, YAML or CSV.
JSON = ("status.json", "metrics.json", "mask.json", "genotype.json")
YAML = (".hydra/config.yaml", ".hydra/hydra.yaml")
CSV = ("history.csv",)


def _replaced(make):
    """What is in place of the file is not one."""

    def damage(path):
        path.unlink()
        make(path)

    return damage


def _changed(make):
    def damage(path):
        path.write_bytes(make(path.read_bytes()))

    return damage


def _written(content):
    return _changed(lambda _: content if isinstance(content, bytes) else content.encode())


def _with(**values):
    """A JSON file with other values, which may be literals that are no JSON."""

    def change(content):
        whole = json.loads(content) | dict.fromkeys(values, "HERE")
        text = json.dumps(whole)
        for value in values.values():
            text = text.replace('"HERE"', value, 1)
        return text.encode()

    return _changed(change)


def _without_an_edge(content):
    mask = json.loads(content)
    mask["kept"]["normal"].pop()
    return json.dumps(mask).encode()


def _with_a_source_twice(content):
    genotype = json.loads(content)
    genotype["normal"][1][1] = genotype["normal"][0][1]
    return json.dumps(genotype).encode()


def _loop(path):
    path.symlink_to(path.name)


#: Damages of any file.
EVERYWHERE = {
    "empty": _written(b""),
    "cut": _changed(lambda content: content[: len(content) // 2]),
    "noise": _changed(lambda content: random.Random(0).randbytes(len(content))),
    "zeros": _changed(lambda content: bytes(len(content))),
    "utf-16": _changed(lambda content: content.decode().encode("utf-16")),
    "latin-1": _changed(lambda content: content.replace(b"e", b"\xe9", 1)),
    "50 MB": lambda path: os.truncate(path, 50_000_000),
    "pipe": _replaced(os.mkfifo),
    "folder": _replaced(os.mkdir),
    "link to nothing": _replaced(lambda path: path.symlink_to("gone")),
    "link to itself": _replaced(_loop),
}
OF_JSON = {
    "nested": _written(b'{"format": 1, "a": ' + b"[" * NESTED + b"]" * NESTED + b"}"),
    "objects": _written(b'{"format": ' * NESTED + b"1" + b"}" * NESTED),
    "NaN": _with(seed="NaN"),
    "infinity": _with(seed="-Infinity"),
    "1e400": _with(seed="1e400"),
    "400 digits": _with(seed="9" * 400),
    "5000 digits": _with(seed="9" * 5000),
    "half a character": _with(space=r'"\ud800"'),
    "a list": _written("[]"),
    "a number": _written("1"),
    "a text": _written('"mask"'),
    "null": _written("null"),
    "a key twice": _changed(lambda content: b'{"format": 1,' + content.lstrip()[1:-2] + b', "format": 1}'),
}
OF_YAML = {
    "nested": _written("a: " + "[" * NESTED + "]" * NESTED),
    "nested blocks": _written("- " * NESTED),
    "a list": _written("- 1"),
    "a text": _written("mask"),
    "tabs": _written("a:\n\t- b: [\n"),
    "two documents": _written("a: 1\n---\nb: 1\n"),
    "a wrong tag": _written("seed: !!bool x\n"),
    "no date": _written("seed: 2024-13-45\n"),
    "5000 digits": _written(f"seed: {'9' * 5000}\n"),
    "without end": _written("&a {seed: *a}"),
    "a bomb": _written(
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(9)),
    ),
}
CONFIG, HYDRA = YAML
#: Damages of one file: file -> name -> what does it.
OWN = {
    "status.json": {
        "no state": _with(state="null"),
        "unknown state": _with(state='"perhaps"'),
        "state of another type": _with(state='{"a": []}'),
        "error of another type": _with(error="[1]"),
        "another format": _with(format="2"),
        "stages of another type": _with(stages_done="5"),
    },
    "metrics.json": {
        key: _with(**{"search/val_acc": value})
        for key, value in {
            "value null": "null",
            "value a text": '"high"',
            "value true": "true",
            "value a list": "[0.5]",
            "value an object": '{"a": 1}',
            "97 percent": "97.0",
            "value negative": "-1",
            "value 1e308": "1e308",
        }.items()
    }
    | {
        "seconds 1e300": _with(**{"search/seconds": "1e300"}),
        "images negative": _with(**{"evaluate/test_images": "-5"}),
    },
    "mask.json": {
        "no format": _with(format="null"),
        "space a number": _with(space="5"),
        "ratio a text": _with(ratio='"half"'),
        "ratio 2": _with(ratio="2"),
        "kept a list": _with(kept="[]"),
        "kept of numbers": _with(kept='{"normal": [[1, 2]]}'),
        "kept nothing": _with(kept='{"normal": [[]], "reduce": [[]]}'),
        "importance a number": _with(importance="3"),
        "seed a text": _with(seed='"zero"'),
        "kept of another space": _with(kept='{"cell": [["skip_connect"]]}'),
        "an unknown operation": _changed(lambda content: content.replace(b"sep_conv_3x3", b"sep_conv_9x9", 1)),
        "an edge less": _changed(_without_an_edge),
        "ratio that contradicts": _with(ratio="0.9"),
    },
    "genotype.json": {
        "no format": _with(format="null"),
        "space a list": _with(space="[]"),
        "cell a number": _with(normal="5"),
        "genes of three": _with(normal='[["sep_conv_3x3", 0, 1]]'),
        "source a text": _with(normal='[["sep_conv_3x3", "0"]]'),
        "source negative": _with(normal='[["sep_conv_3x3", -1]]'),
        "concat a number": _with(normal_concat="4"),
        "concat of an input": _with(normal_concat="[0, 1]"),
        "a gene less": _with(normal='[["sep_conv_3x3", 0]]'),
        "a source twice": _changed(_with_a_source_twice),
    },
    "history.csv": {
        "a row short": _changed(lambda content: content + b"search,3\n"),
        "a row long": _changed(lambda content: content + b"search,3,0.5,0.5,0.5,0.5\n"),
        "a NUL": _changed(lambda content: content.replace(b"search", b"sea\0ch", 1)),
        "columns twice": _changed(lambda content: content.replace(b"epoch", b"stage", 1)),
        "header twice": _changed(lambda content: content + content),
        "no header": _changed(lambda content: content.split(b"\n", 1)[1]),
        "epoch a text": _changed(lambda content: content.replace(b"search,1", b"search,one")),
        "accuracy a text": _changed(lambda content: content.replace(b"0.5", b"half", 1)),
        "a quote open": _changed(lambda content: content.replace(b"search", b'"search', 1)),
        "a field of 1 MB": _changed(lambda content: content.replace(b"search,0", b"s" * 2**20 + b",0", 1)),
    },
    CONFIG: {
        "seed a text": _with(seed='"zero"'),
        "seed a list": _with(seed="[0]"),
        "seed a fraction": _with(seed="0.5"),
        "seed NaN": _with(seed=".nan"),
        "group a number": _with(dataset="5"),
        "group a list": _with(searcher="[1]"),
        "group a text": _with(space='"darts"'),
        "a group less": _changed(lambda content: content.replace(b'"searcher"', b'"other"')),
    },
    HYDRA: {
        "choices a number": _written("hydra: {runtime: {choices: 5}}"),
        "choices null": _written("hydra: {runtime: null}"),
    },
}
#: Damages that leave a file of which everything can be read, or whose absence says nothing.
HARMLESS = [
    *((name, "mark", _changed(lambda content: b"\xef\xbb\xbf" + content)) for name in (*JSON, *YAML, *CSV)),
    *((name, "absent", lambda path: path.unlink()) for name in ("mask.json", "genotype.json", "history.csv")),
    (CONFIG, "callbacks a number", _with(callbacks="5")),
    (CONFIG, "callbacks a list", _with(callbacks="[1, {a: 2}]")),
    (CONFIG, "ratio a text", _with(ratio='"half"')),
    (CONFIG, "ratio NaN", _with(ratio=".nan")),
    (CONFIG, "ratio 1e308", _with(ratio="1e308")),
    (CONFIG, "ratio a date", _with(ratio="2024-01-01")),
    (CONFIG, "ratio a set", _with(ratio="!!set {x}")),
    (CONFIG, "ratio of 400 digits", _with(ratio="9" * 400)),
    (CONFIG, "a formula", _with(ratio=r'"$\\frac{"')),
]
#: Damages that a report has to tell: (file, name, what does it).
DAMAGES = [
    *((name, kind, damage) for name in (*JSON, *YAML, *CSV) for kind, damage in EVERYWHERE.items()),
    *((name, kind, damage) for name in JSON for kind, damage in OF_JSON.items()),
    *((name, kind, damage) for name in YAML for kind, damage in OF_YAML.items()),
    *((name, kind, damage) for name, own in OWN.items() for kind, damage in own.items()),
    *((name, "absent", lambda path: path.unlink()) for name in ("status.json", CONFIG, HYDRA)),
]
