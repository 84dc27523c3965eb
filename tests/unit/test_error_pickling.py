"""Every error of ours goes from one process to another and stays what it was."""

import copy
import importlib
import inspect
import json
import pickle
import pkgutil
import typing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from tests.support.messages import EVENT

import rescind
import rescind_authority
import rescind_cli
import rescind_lab
import rescind_runtime
import rescind_sidecar
from rescind import DeniedError, Reason
from rescind.client import problems
from rescind.core.revocation import Revocation
from rescind.errors import RescindError
from rescind.integrations.fastapi import RefusedError
from rescind.wire import bearer
from rescind.wire.bearer import Refusal
from rescind_authority import errors as of_the_authority
from rescind_authority.usecases.oauth.registration import GrantType
from rescind_runtime.processes.child_process import Program

PACKAGES = (
    rescind,
    rescind_runtime,
    rescind_authority,
    rescind_sidecar,
    rescind_cli,
    rescind_lab,
)
SAMPLES: dict[object, object] = {
    str: "a text",
    str | None: None,
    int: 7,
    bool: True,
    bytes: b"an answer",
    Path: Path("/run/rescind/search.sock"),
    Revocation: EVENT.revocation,
    Program: Program(name="a child", command=["/bin/true"], directory=Path("/"), log=None),
    Refusal: bearer.refuse(Reason.REVOKED),
    problems.FieldProblem: problems.FieldProblem("field", "detail"),
    of_the_authority.FieldError: of_the_authority.FieldError("field", "detail"),
    GrantType: GrantType.CLIENT_CREDENTIALS,
    tuple[problems.FieldProblem, ...]: (problems.FieldProblem("field", "detail"),),
}


def of(base: type[Exception]) -> Iterator[type[Exception]]:
    for cls in base.__subclasses__():
        yield cls
        yield from of(cls)


def error_classes() -> list[type[Exception]]:
    """Find every error that any of our modules defines."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    ours = {cls for cls in of(RescindError) if cls.__module__.startswith("rescind")}
    return sorted(
        {*ours, RescindError, RefusedError}, key=lambda cls: (cls.__module__, cls.__name__)
    )


def made(cls: type[Exception]) -> Exception:
    """Make an error from what its constructor says that it takes."""
    if cls.__init__ in {Exception.__init__, ImportError.__init__}:
        return cls("what is wrong, and what to do")
    wanted = typing.get_type_hints(cls.__init__)
    positional, named = list[Any](), dict[str, Any]()
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        sample = SAMPLES[wanted[name]]
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = sample
        else:
            positional.append(sample)
    return cls(*positional, **named)


def again(error: Exception, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 it was written just here


def same(one: BaseException, other: BaseException) -> bool:
    return (type(one), str(one), one.args, vars(one)) == (
        type(other),
        str(other),
        other.args,
        vars(other),
    )


ERROR_CLASSES = error_classes()


def test_many_classes_of_errors_are_tested() -> None:
    names = {cls.__name__ for cls in ERROR_CLASSES}
    assert {"DeniedError", "ProblemError", "OutcomeUnknownError", "MissingExtraError"} <= names
    assert len(ERROR_CLASSES) > 40


@pytest.mark.parametrize("cls", ERROR_CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_an_error_survives_pickling_and_copying(cls: type[Exception]) -> None:
    error = made(cls)
    error.add_note("a note")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        loaded = again(error, protocol)
        assert same(error, loaded)
        assert same(error, again(loaded, protocol))
    assert same(error, copy.copy(error))
    assert same(error, copy.deepcopy(error))


def test_an_import_error_states_what_to_install_also_after_pickling() -> None:
    loaded = again(problems.MissingExtraError("admin", "the client"))
    assert (loaded.msg, loaded.extra) == (str(loaded), "admin")


def test_a_denial_is_restored_from_its_class_and_args_as_celery_does() -> None:
    error = DeniedError(Reason.REVOKED)
    restored = DeniedError(*json.loads(json.dumps(error.args)))
    assert (restored.reason, str(restored)) == ("revoked", "the token is denied: revoked")


def _denied() -> None:
    raise DeniedError(Reason.REVOKED)


def test_a_pool_of_processes_returns_the_denial_to_its_caller() -> None:
    said = pytest.raises(DeniedError, match=r"^the token is denied: revoked$")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, said as caught:
        pool.submit(_denied).result(timeout=60)
    assert caught.value.reason is Reason.REVOKED
