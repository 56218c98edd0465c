"""Compile generated C++ into a library, once for each content: the next start finds it on disk."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from rulec.backend import messages
from rulec.source import RuleError
from rulec.source.cache import cache_folder, keep

FLAGS = (
    "-O3",
    "-march=native",
    "-fopenmp-simd",
    "-pthread",
    "-fPIC",
    "-shared",
    "-std=c++17",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-w",
)


def remembered(content: str, make: Callable[[], str]) -> str:
    """Return the text that `make` makes, or made in an earlier start from the same content with the same code."""
    key = hashlib.sha256("\n".join((content, _code(), torch.__version__)).encode()).hexdigest()
    path = cache_folder("kernels") / f"{key[:32]}.cpp"
    if path.exists():
        return path.read_text()
    text = make()
    keep(path, text.encode())
    return text


def load_library(source: str) -> ctypes.CDLL:
    """Return the compiled source. Raises `RuleError` where there is no compiler, or it fails."""
    compiler = shutil.which(compiler_name())
    if compiler is None:
        raise RuleError([messages.no_compiler(compiler_name())])
    key = hashlib.sha256("\n".join((source, *FLAGS, _version(compiler), _processor())).encode()).hexdigest()
    library = cache_folder("kernels") / f"{key[:32]}.so"
    if not library.exists():
        _compile(compiler, source, library)
    return ctypes.CDLL(str(library))


@cache
def matrix_library() -> ctypes.CDLL | None:
    """Return the library that PyTorch multiplies matrices with on a CPU, if its functions can be called from outside."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        library = ctypes.CDLL(str(path))
        if all(hasattr(library, name) for name in ("sgemm_", "dgemm_", "MKL_Set_Num_Threads_Local")):
            return library
    return None


def lend_products(kernel: ctypes.CDLL, double: bool) -> None:
    """Hand a kernel the functions of `matrix_library`."""
    library = matrix_library()
    assert library is not None
    functions = [library.dgemm_ if double else library.sgemm_, library.MKL_Set_Num_Threads_Local]
    kernel.use_library(*(ctypes.cast(f, ctypes.c_void_p) for f in functions))


def compiler_name() -> str:
    """Return the C++ compiler: the variable RULEC_CXX, or CXX, or g++."""
    return os.environ.get("RULEC_CXX") or os.environ.get("CXX") or "g++"


def _compile(compiler: str, source: str, library: Path) -> None:
    """Compile beside the final place and move there, so that nobody ever sees half a library."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        text, made = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        text.write_text(source)
        done = subprocess.run(
            [compiler, *FLAGS, str(text), "-o", str(made)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuleError([messages.compiler_failed(compiler, done.stderr.strip().split("\n")[0])])
        made.replace(library)


@cache
def _code() -> str:
    """Return what tells versions of the compiler apart: a digest of its own source."""
    digest = hashlib.sha256()
    for part in ("backend", "ir"):
        for path in sorted(Path(str(files("rulec") / part)).rglob("*")):
            if path.suffix in (".py", ".h"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout


@cache
def _processor() -> str:
    """Name the processor that `-march=native` compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
    except OSError:
        return platform.processor()
    return "\n".join(next((x for x in lines if x.startswith(key)), "") for key in ("model name", "flags"))
