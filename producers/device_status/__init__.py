"""Change the remembered status of Amazon Cognito devices.

    from device_status import Producer

    Producer().enqueue(user_pool_id=…, username=…, device_key=…, status="not_remembered")

Everything a service needs to publish commands and follow them is here; the rest of the package is
for the workers and the `device-status` command.
"""

from device_status.command import (
    CommandFields,
    DeviceStatusCommand,
    Lane,
    LaneName,
    Status,
    StatusName,
    parse_command,
)
from device_status.dead_letters import DeadLetter, DeadLetters
from device_status.errors import (
    DeviceStatusError,
    IdempotencyConflictError,
    IncidentError,
    InvalidCommandError,
    LedgerUnavailableError,
    NotRedrivableError,
    PublishError,
    SettingsError,
    UnknownDeadLetterError,
)
from device_status.incident import Progress
from device_status.incidents import Incidents
from device_status.outcomes import Record, State
from device_status.producer import EnqueueReport, Producer, Refusal
from device_status.settings import Settings, load_settings
from device_status.verification import Verification

__version__ = "0.1.0"

__all__ = [
    "CommandFields",
    "DeadLetter",
    "DeadLetters",
    "DeviceStatusCommand",
    "DeviceStatusError",
    "EnqueueReport",
    "IdempotencyConflictError",
    "IncidentError",
    "Incidents",
    "InvalidCommandError",
    "Lane",
    "LaneName",
    "LedgerUnavailableError",
    "NotRedrivableError",
    "Producer",
    "Progress",
    "PublishError",
    "Record",
    "Refusal",
    "Settings",
    "SettingsError",
    "State",
    "Status",
    "StatusName",
    "UnknownDeadLetterError",
    "Verification",
    "__version__",
    "load_settings",
    "parse_command",
]
