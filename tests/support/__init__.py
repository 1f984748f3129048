"""What several test modules share: commands to send, servers to send them to, a clock to turn."""

from support.commands import DEVICE_KEY, POOL, USERNAME, device, make_command, wire_object

__all__ = ["DEVICE_KEY", "POOL", "USERNAME", "device", "make_command", "wire_object"]
