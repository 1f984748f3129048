"""All mutants, by what they break."""

from __future__ import annotations

from typing import Final

from mutants.catalogue import (
    answers,
    claims,
    dead_letters,
    failures,
    gate,
    incidents,
    intake,
    late_requests,
    listings,
    notices,
    publishing,
    sweeping,
    verification,
)
from mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *failures.MUTANTS,
    *answers.MUTANTS,
    *claims.MUTANTS,
    *late_requests.MUTANTS,
    *gate.MUTANTS,
    *sweeping.MUTANTS,
    *dead_letters.MUTANTS,
    *incidents.MUTANTS,
    *notices.MUTANTS,
    *listings.MUTANTS,
    *verification.MUTANTS,
    *intake.MUTANTS,
    *publishing.MUTANTS,
)
