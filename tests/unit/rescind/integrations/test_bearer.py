"""`rescind.integrations.bearer` goes on to work; `rescind.wire.bearer` is the module."""

from rescind.integrations import bearer as former
from rescind.wire import bearer


def test_the_former_module_still_exports_all_its_names() -> None:
    defined = {
        name
        for name, each in vars(bearer).items()
        if getattr(each, "__module__", "") == bearer.__name__
    }
    public = {name for name in defined | {"RETRY_AFTER_S"} if not name.startswith("_")}
    assert set(former.__all__) == public
    assert all(getattr(former, name) is getattr(bearer, name) for name in public)
