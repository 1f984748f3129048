"""A Valkey and an Amazon Cognito of one's own, for the demo and the tests: extra `[demo]`.

`python -m device_status_worker.local` runs both.
"""

from .cognito import LocalCognito
from .faults import Fault, Rule
from .request_log import Request
from .valkey import EmbeddedValkey, ValkeyStartError

__all__ = ["EmbeddedValkey", "Fault", "LocalCognito", "Request", "Rule", "ValkeyStartError"]
