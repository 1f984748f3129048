"""Uses an unpacked wheel where nothing can be imported but what its metadata asks for.

python -P only_required.py FOLDER EXTRA REDIS_URL: prints `works`, or fails with the missing module. The
environment of the tests has more than that, and what is missing elsewhere would not be seen there.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def required(found: Distribution, extras: set[str], names: set[str]) -> set[str]:
    """`names`, and the names of all distributions that `found` asks for, directly or not."""
    for line in found.requires or []:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        markers = [{"extra": extra} for extra in extras | {""}]
        if requirement.marker and not any(requirement.marker.evaluate(each) for each in markers):
            continue
        wanted = {f"{name}[{extra}]" for extra in requirement.extras} | {name}
        if wanted <= names:
            continue
        names |= wanted
        try:
            required(found if name == "device-status" else distribution(name), set(requirement.extras), names)
        except PackageNotFoundError:
            continue  # Then nothing can be imported from it either.
    return names


class OnlyRequired(MetaPathFinder):
    """Refuses the modules of distributions that nobody asked for."""

    def __init__(self, names: set[str]) -> None:
        self._refused = {
            module
            for module, owners in packages_distributions().items()
            if not {canonicalize_name(owner) for owner in owners} & names
        }

    def find_spec(self, name: str, *_: object) -> None:
        """Nothing is found here; what is refused raises."""
        if name.partition(".")[0] in self._refused:
            raise ModuleNotFoundError(f"No module named {name!r} among what is required", name=name)


def main(folder: str, extra: str, redis_url: str) -> None:
    """Publish; with an extra, make a worker, and with `demo` the local servers too."""
    (wheel,) = Distribution.discover(name="device-status", path=[folder])
    names = required(wheel, {extra}, {"device-status"})
    # Pip and setuptools may be there or not; what this module itself needed may not stay.
    for name in [name for name in sys.modules if name.partition(".")[0] == "packaging"]:
        del sys.modules[name]
    sys.meta_path.insert(0, OnlyRequired(names))

    from device_status import DeadLetters, Incidents, Producer, load_settings
    from device_status.cli import app

    settings = load_settings(broker_url=redis_url)
    Producer(settings).enqueue(
        user_pool_id="eu-west-1_Ab12Cd34E", username="u", device_key="eu-west-1_0", status="remembered"
    )
    assert DeadLetters(settings).count_by_error() == {}
    assert list(Incidents(settings).list()) == []
    assert app.registered_commands
    # The fakes need no pytest, and nothing else that a service does not install.
    from device_status.testing import FakeProducer

    assert FakeProducer().sent == []
    if extra:
        from device_status_worker import process
        from device_status_worker.tasks import apply_many

        assert apply_many.name == "device_status.apply_many"
        assert process.receiver().threads == settings.concurrency
    if extra == "demo":
        from device_status_worker.local import LocalCognito

        with LocalCognito() as cognito:
            assert cognito.create_pool()
    sys.stdout.write("works\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
