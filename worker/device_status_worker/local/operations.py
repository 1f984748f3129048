"""The four device operations that moto lacks, over moto's pools and users.

Facts, and how certain they are:

- Shapes and modelled errors: botocore's service model. Certain.
- Device attributes and dates: the sample responses of AdminListDevices and AdminGetDevice in AWS's API
  reference. Certain, though a real device may lack some, such as its name.
- "Device does not exist.": real error messages in public issues (aws-sdk-net-extensions-cognito 10,
  amplify-android 2605). Certain. A device made `not_remembered` is still there for the Admin operations (an
  instrumented test of aws-sdk-android reads it so with AdminGetDevice); only the user's own ListDevices hides
  it.
- AdminGetDevice and AdminListDevices model no `UserNotFoundException`. An unknown user is a
  `ResourceNotFoundException` with "User does not exist." here: our choice. AWS may answer with the unmodelled
  error, or AdminListDevices with an empty list, as aws-cli issue 5463 suggests for an e-mail alias. A caller
  should bear all three.
- AdminUpdateDeviceStatus without a status: the member is optional, and AWS says no more. Nothing changes
  here.
- A pool without device tracking: all four model `InvalidUserPoolConfigurationException`; the text is our own.
- The order of a list, Limit 0 or none meaning 60, a token only if more follows: our choice.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import pools
from .devices import Device, Devices
from .pools import Scope, User
from .shapes import MAX_LIMIT, Arguments
from .wire import AwsError, Response, json_response


@dataclass(frozen=True)
class Call:
    """A request whose pool, its tracking and user were found."""

    devices: Devices
    scope: Scope
    user: User
    arguments: Arguments

    def device(self) -> Device:
        """The device it names, or `ResourceNotFoundException`."""
        try:
            return self.devices.get(self.user.sub, self.arguments.device_key)
        except KeyError:
            raise _no_device() from None


def update_device_status(call: Call) -> Response:
    """AdminUpdateDeviceStatus: answers `{}`."""
    device = call.device()
    if call.arguments.status is not None:
        try:
            call.devices.set_status(call.user.sub, device.key, call.arguments.status)
        except KeyError:  # forgotten in between
            raise _no_device() from None
    return json_response({})


def get_device(call: Call) -> Response:
    """AdminGetDevice: answers `{"Device": …}`."""
    return json_response({"Device": _described(call, call.device())})


def list_devices(call: Call) -> Response:
    """AdminListDevices: answers `{"Devices": […], "PaginationToken": …}`, at most 60 devices a page."""
    after = _read_token(call.user, call.arguments.token) if call.arguments.token else 0
    waiting = [device for device in call.devices.of(call.user.sub) if device.number > after]
    page = waiting[: call.arguments.limit or MAX_LIMIT]
    answer: dict[str, object] = {"Devices": [_described(call, device) for device in page]}
    if len(page) < len(waiting):
        answer["PaginationToken"] = _make_token(call.user, page[-1])
    return json_response(answer)


def forget_device(call: Call) -> Response:
    """AdminForgetDevice: answers with an empty body, as the model has no output."""
    try:
        call.devices.remove(call.user.sub, call.arguments.device_key)
    except KeyError:
        raise _no_device() from None
    return Response(200, b"")


# What does an operation, and its error for a user who does not exist (see the module's docstring).
OPERATIONS: Mapping[str, tuple[Callable[[Call], Response], str]] = {
    "AdminUpdateDeviceStatus": (update_device_status, "UserNotFoundException"),
    "AdminGetDevice": (get_device, "ResourceNotFoundException"),
    "AdminListDevices": (list_devices, "ResourceNotFoundException"),
    "AdminForgetDevice": (forget_device, "UserNotFoundException"),
}


def run(operation: str, devices: Devices, scope: Scope, arguments: Arguments) -> Response:
    """Does one of `OPERATIONS`. Raises `AwsError`: for the pool, then its tracking, the user, the device."""
    method, no_user = OPERATIONS[operation]
    pool = pools.find_pool(scope, arguments.user_pool_id)
    if not pools.tracks_devices(pool):
        raise AwsError(
            "InvalidUserPoolConfigurationException",
            f"User pool {arguments.user_pool_id} does not have device tracking turned on.",
        )
    user = pools.find_user(pool, arguments.username)
    if user is None:
        raise AwsError(no_user, "User does not exist.")
    return method(Call(devices, scope, user, arguments))


def _no_device() -> AwsError:
    return AwsError("ResourceNotFoundException", "Device does not exist.")


def _described(call: Call, device: Device) -> dict[str, object]:
    owner = f"{call.user.username}.{call.arguments.user_pool_id}"
    attributes = {
        "device_status": "valid",
        "device_name": device.name,
        "dev:device_arn": f"arn:aws:cognito-idp:{call.scope.region}:{call.scope.account}"
        f":owner/{owner}/device/{device.key}",
        "dev:device_owner": owner,
        "last_ip_used": "192.0.2.1",  # TEST-NET-1, as in AWS's samples
        "dev:device_remembered_status": device.status,
        "dev:device_sdk": "aws-sdk",
    }
    return {
        "DeviceKey": device.key,
        "DeviceAttributes": [{"Name": name, "Value": value} for name, value in attributes.items()],
        "DeviceCreateDate": round(device.created, 3),
        "DeviceLastModifiedDate": round(device.modified, 3),
        "DeviceLastAuthenticatedDate": float(int(device.created)),
    }


def _make_token(user: User, last: Device) -> str:
    # A place is a device's number, so that a device forgotten between two pages makes none be left out.
    return base64.urlsafe_b64encode(json.dumps([user.sub, last.number]).encode()).decode()


def _read_token(user: User, token: str) -> int:
    try:
        sub, number = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        sub, number = None, None
    if sub != user.sub or not isinstance(number, int):
        raise AwsError("InvalidParameterException", "Invalid pagination token.")
    return number
