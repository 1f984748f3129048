"""TLS: a server that can't prove its name gets not one byte, and who turns that off is warned."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_TLS: Final = "producers/device_status/tls.py"
_BROKER: Final = "producers/device_status/broker.py"
_SCRIPTS: Final = "producers/device_status/scripts.py"
_HEALTH: Final = "producers/device_status/health.py"
_HTTP: Final = "worker/device_status_worker/bounded_http.py"
_TESTS: Final = "tests/integration/test_tls.py"
_TO_LEDGER: Final = f"{_TESTS}::TestACertificate::test_keeps_a_producer_from_the_ledger"
_TO_BROKER: Final = f"{_TESTS}::TestACertificate::test_keeps_a_producer_from_the_broker"
_NO_OPTIONS: Final = f"{_TESTS}::TestWithoutOptions::test_a_producer_sends_nothing_to_an_impostor"
_WEBHOOK: Final = f"{_TESTS}::TestTheWebhook::test_gets_nothing_with_another"
_OPT_OUT: Final = f"{_TESTS}::TestWithoutVerification"

MUTANTS: Final = (
    Mutant(
        "no certificate of a Redis is verified",
        _TLS,
        '"required" if tls.verify else "none"',
        '"none"',
        f"{_TO_LEDGER}[of an unknown authority]",
    ),
    Mutant(
        "no host name of a Redis is verified",
        _TLS,
        '"ssl_check_hostname": tls.check_hostname,',
        '"ssl_check_hostname": False,',
        f"{_TO_LEDGER}[for another name]",
    ),
    Mutant(
        "a URL that says nothing of certificates turns verification off",
        _TLS,
        '{"required": True, "none": False}',
        '{"none": False, "required": True}',
        f"{_NO_OPTIONS}[self-signed]",
    ),
    Mutant(
        "a URL that says nothing of host names turns their verification off",
        _TLS,
        '{"true": True, "false": False}',
        '{"false": False, "true": True}',
        f"{_TO_LEDGER}[for another name]",
    ),
    Mutant(
        "whoever is not to verify the host name does not verify the authority",
        _TLS,
        "verify=cert_reqs,",
        "verify=cert_reqs and check_hostname,",
        f"{_OPT_OUT}::test_of_the_host_name_the_authority_still_counts",
    ),
    Mutant(
        "the broker's certificate is not verified",
        _BROKER,
        "return redis_options(there.tls)",
        'return redis_options(there.tls) | {"ssl_cert_reqs": "none"}',
        f"{_TO_BROKER}[self-signed]",
    ),
    Mutant(
        "how the broker is verified is left to kombu",
        _BROKER,
        "return redis_options(there.tls)",
        "return False",
        f"{_NO_OPTIONS}[self-signed]",
    ),
    Mutant(
        "the broker's host name is not verified",
        _BROKER,
        "return redis_options(there.tls)",
        'return redis_options(there.tls) | {"ssl_check_hostname": False}',
        f"{_TO_BROKER}[for another name]",
    ),
    Mutant(
        "the ledger's certificate is not verified",
        _SCRIPTS,
        "options |= redis_options(there.tls)",
        'options |= redis_options(there.tls) | {"ssl_cert_reqs": "none"}',
        f"{_TO_LEDGER}[self-signed]",
    ),
    Mutant(
        "the ledger's host name is not verified",
        _SCRIPTS,
        "options |= redis_options(there.tls)",
        'options |= redis_options(there.tls) | {"ssl_check_hostname": False}',
        f"{_TO_LEDGER}[for another name]",
    ),
    Mutant(
        "the webhook's certificate is not verified",
        _HTTP,
        "context.check_hostname = True",
        "context.check_hostname = False\n    context.verify_mode = ssl.CERT_NONE",
        f"{_WEBHOOK}[True-self-signed]",
    ),
    Mutant(
        "the webhook's host name is not verified",
        _HTTP,
        '"ssl_context": self._tls,',
        '"ssl_context": self._tls, "assert_hostname": False,',
        f"{_WEBHOOK}[True-for another name]",
        after="options: dict[str, Any] = {",
    ),
    Mutant(
        "nobody is warned of a certificate that is not verified",
        _HEALTH,
        "if tls is None or tls.check_hostname:",
        "if True:",
        f"{_OPT_OUT}::test_any_certificate_will_do_and_doctor_warns[self-signed]",
    ),
    Mutant(
        "nobody is warned of a host name that is not verified",
        _HEALTH,
        "if tls is None or tls.check_hostname:",
        "if tls is None or tls.verify:",
        f"{_OPT_OUT}::test_of_the_host_name_the_authority_still_counts",
    ),
    Mutant(
        "a worker does not warn of a server that is not verified",
        "worker/device_status_worker/app.py",
        "for warning in connection_warnings(url, name=name):",
        "for warning in ():",
        f"{_OPT_OUT}::test_a_worker_warns_before_it_connects",
    ),
)
