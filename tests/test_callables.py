# SPDX-License-Identifier: Apache-2.0
"""Two functions share a fingerprint where they do the same, and only there."""

import functools
import operator
import os
import subprocess
import sys
import textwrap
import threading
import types

import numpy as np
import pytest
import torch
from torch import nn

from filterlens.callables import fingerprint_of


def made(text, name="f", **names):
    """Compile a text as a module of its own and return one of its names."""
    module = types.ModuleType("of_a_user")
    vars(module).update(names)
    exec(compile(textwrap.dedent(text), "anywhere.py", "exec"), vars(module))
    return vars(module)[name]


def hash_of(text, name="f", **names):
    facts = fingerprint_of(made(text, name, **names))
    assert facts.stable
    return facts.source_hash


SAME = {
    "comments and lines": ("def f(x): return x * 2", "\n\n# twice\ndef f(x):\n    return x * 2  # here"),
    "order in memory of a set": ("def f(x): return x in {'a', 'b', 'c'}", "def f(x): return x in {'c', 'a', 'b'}"),
    "unused names": ("def f(x): return x", "A = 3\ndef f(x): return x"),
}
DIFFERENT = {
    "a constant": ("def f(x): return x * 2", "def f(x): return x * 3"),
    "type of a constant": ("def f(x): return x * 1", "def f(x): return x * 1.0"),
    "sign of zero": ("def f(x): return x * 0.0", "def f(x): return x * -0.0"),
    "a called name": ("def f(x): return x.sum()", "def f(x): return x.mean()"),
    "a default": ("def f(x, k=2): return x * k", "def f(x, k=3): return x * k"),
    "a keyword default": ("def f(x, *, k=2): return x * k", "def f(x, *, k=3): return x * k"),
    "a closure": (
        "def make(k):\n    return lambda x: x * k\nf = make(2)",
        "def make(k):\n    return lambda x: x * k\nf = make(3)",
    ),
    "a global value": ("K = 2\ndef f(x): return x * K", "K = 3\ndef f(x): return x * K"),
    "a global function": (
        "def g(x): return x + 1\ndef f(x): return g(x)",
        "def g(x): return x + 2\ndef f(x): return g(x)",
    ),
    "a function's function's value": (
        "K = [1, {'a': 2}]\ndef g(x): return x + K[0]\ndef f(x): return g(x)",
        "K = [1, {'a': 3}]\ndef g(x): return x + K[0]\ndef f(x): return g(x)",
    ),
    "an inner function": (
        "def f(x):\n    def g(y): return y + 1\n    return g(x)",
        "def f(x):\n    def g(y): return y + 2\n    return g(x)",
    ),
    "a global in an inner function": (
        "K = 2\ndef f(x): return [K * y for y in x]",
        "K = 3\ndef f(x): return [K * y for y in x]",
    ),
    "a circle of functions": (
        "def g(x): return f(x - 1)\ndef f(x): return g(x) if x else 1",
        "def g(x): return f(x - 2)\ndef f(x): return g(x) if x else 1",
    ),
    "a base class": (
        "class B:\n    def g(self, x): return x\nclass A(B):\n    def __call__(self, x): return self.g(x)\nf = A()",
        "class B:\n    def g(self, x): return -x\nclass A(B):\n    def __call__(self, x): return self.g(x)\nf = A()",
    ),
    "state of an object": (
        "class A:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return x * self.k\nf = A(2)",
        "class A:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return x * self.k\nf = A(3)",
    ),
    "state in slots": (
        "class A:\n    __slots__ = 'k'\n    def __init__(self, k): self.k = k\n    def go(self, x): pass\nf = A(2).go",
        "class A:\n    __slots__ = 'k'\n    def __init__(self, k): self.k = k\n    def go(self, x): pass\nf = A(3).go",
    ),
    "a field of a dataclass": (
        "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass A:\n    k: int\n"
        "    more: list = field(default_factory=list)\n    def __call__(self, x): return x * self.k\nf = A(2)",
        "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass A:\n    k: int\n"
        "    more: list = field(default_factory=list)\n    def __call__(self, x): return x * self.k\nf = A(3)",
    ),
    "a method by super": (
        "class B:\n    def g(self, x): return x\nclass A(B):\n    def g(self, x): return super().g(x)\nf = A().g",
        "class B:\n    def g(self, x): return -x\nclass A(B):\n    def g(self, x): return super().g(x)\nf = A().g",
    ),
    "a class that is abstract": (
        "from abc import ABC, abstractmethod\nclass B(ABC):\n    @abstractmethod\n    def g(self): ...\n"
        "class A(B):\n    def g(self): return 1\nf = A().g",
        "from abc import ABC, abstractmethod\nclass B(ABC):\n    @abstractmethod\n    def g(self): ...\n"
        "class A(B):\n    def g(self): return 2\nf = A().g",
    ),
    "what is cached": (
        "import functools\n@functools.lru_cache\ndef f(x): return x + 1",
        "import functools\n@functools.lru_cache\ndef f(x): return x + 2",
    ),
    "what is decorated": (
        "import torch\n@torch.no_grad()\ndef f(x): return x + 1",
        "import torch\n@torch.no_grad()\ndef f(x): return x + 2",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_what_does_the_same_has_one_fingerprint(case):
    first, second = SAME[case]
    assert hash_of(first) == hash_of(second)


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_does_something_else_has_another(case):
    first, second = DIFFERENT[case]
    assert hash_of(first) == hash_of(first)
    assert hash_of(first) != hash_of(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.zeros(3), torch.tensor([0.0, 0.0, 1e-30])),
        (torch.zeros(3), torch.zeros(3, 1)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.bfloat16)),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.arange(6), np.arange(6).reshape(2, 3)),
        (np.float32(1), np.float64(1)),
        (torch.float32, torch.float64),
        ({"a": 1}, {"a": 2}),
        ((1, 2), [1, 2]),
        (nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)),
        (operator.itemgetter(1), operator.itemgetter(2)),
        (functools.partial(torch.add, other=1), functools.partial(torch.sub, other=1)),
        (torch.add, torch.sub),
        (max, min),
    ],
)
def test_values_that_a_function_uses_count_by_their_content(first, second):
    text = "def f(x): return x, K"
    assert hash_of(text, K=first) == hash_of(text, K=first)
    assert hash_of(text, K=first) != hash_of(text, K=second)
    assert hash_of("f = functools.partial(g, K)", functools=functools, g=max, K=first) != hash_of(
        "f = functools.partial(g, K)", functools=functools, g=max, K=second
    )


def test_equal_weights_are_one_network_wherever_they_lie():
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
    twin = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
    assert fingerprint_of(network) != fingerprint_of(twin)
    twin.load_state_dict(network.state_dict())
    assert fingerprint_of(network) == fingerprint_of(twin)
    assert fingerprint_of(network).qualified_name == "Sequential"


def test_what_cannot_be_hashed_is_good_in_one_process_only():
    for thing in (threading.Lock(), torch.Generator(), np.random.default_rng(0), (x for x in ())):
        assert not fingerprint_of(made("def f(x): return x, K", K=thing)).stable
    unknown = fingerprint_of(made("def f(x): return x, K", K=threading.Lock()))
    assert len(unknown.identity) == 4
    assert not fingerprint_of(made("def f(x): return not_there(x)")).stable
    assert not fingerprint_of(made("def f(x):\n    import of_nobody\n    return of_nobody.g(x)")).stable


def test_a_function_of_a_users_module_is_followed_through_its_name():
    def inside(value):
        helper = types.ModuleType("rainy")
        exec(f"def rain(x): return x * {value}\ndef other(x): return {value}", vars(helper))
        return helper

    text = "def f(x): return rainy.rain(x)"
    assert hash_of(text, rainy=inside(2)) != hash_of(text, rainy=inside(3))
    assert not fingerprint_of(made("def f(x): return g(rainy)", rainy=inside(2), g=max)).stable


def test_names_are_those_of_the_code():
    facts = fingerprint_of(made("class A:\n    def go(self, x): return x\nf = A().go"))
    assert (facts.module, facts.qualified_name) == ("of_a_user", "A.go")
    assert fingerprint_of(functools.partial(made("def f(x): return x"), 1)).qualified_name == "f"
    assert fingerprint_of(nn.functional.relu).qualified_name == "relu"
    assert fingerprint_of(lambda x: x).qualified_name.endswith("<lambda>")
    facts = fingerprint_of(nn.ReLU())
    assert (facts.module, facts.qualified_name) == ("torch.nn.modules.activation", "ReLU")
    assert list(facts.record) == ["module", "qualified_name", "source_hash", "stable"]


def test_another_process_finds_the_same(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nimport numpy as np\nfrom torch.nn import functional\n"
        "WORDS = {'a', 'b', 'c', 'd'}\nclass Rain:\n    def __init__(self, k): self.k, self.w = k, torch.ones(2)\n"
        "    def __call__(self, x): return functional.relu(x) * self.k + len(WORDS) * np.pi\n"
        "f = Rain(3)\n"
    )
    call = "import mine; from filterlens.callables import fingerprint_of as p; x = p(mine.f); print(x); assert x.stable"
    found = {
        subprocess.run(
            [sys.executable, "-c", call],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1
