"""All mutants, by what they break."""

from __future__ import annotations

from typing import Final

from mutants.catalogue import (
    answers,
    claims,
    clock_steps,
    dead_letters,
    durability,
    endless_listings,
    evidence,
    failures,
    files,
    gate,
    gate_agreement,
    incidents,
    intake,
    late_requests,
    left_out,
    listings,
    members,
    notices,
    pauses,
    publishing,
    registry,
    sweeping,
    text_of_others,
    tls,
    verification,
)
from mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *failures.MUTANTS,
    *answers.MUTANTS,
    *claims.MUTANTS,
    *clock_steps.MUTANTS,
    *late_requests.MUTANTS,
    *durability.MUTANTS,
    *gate.MUTANTS,
    *gate_agreement.MUTANTS,
    *registry.MUTANTS,
    *sweeping.MUTANTS,
    *dead_letters.MUTANTS,
    *incidents.MUTANTS,
    *members.MUTANTS,
    *evidence.MUTANTS,
    *pauses.MUTANTS,
    *notices.MUTANTS,
    *listings.MUTANTS,
    *endless_listings.MUTANTS,
    *verification.MUTANTS,
    *intake.MUTANTS,
    *left_out.MUTANTS,
    *publishing.MUTANTS,
    *files.MUTANTS,
    *text_of_others.MUTANTS,
    *tls.MUTANTS,
)
