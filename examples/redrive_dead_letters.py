"""Give what the service failed on another life, and say what is left: a job for after an outage."""

from __future__ import annotations

from device_status import DeadLetters


def main() -> None:
    """Redrive every dead letter `RetriesExhausted`."""
    letters = DeadLetters()
    # Taken first: what fails again at once would be listed again.
    chosen = [letter.id for letter in letters.list(error_code="RetriesExhausted")]
    for letter_id in chosen:
        letters.redrive(letter_id)
    print(f"{len(chosen)} redriven")
    for error_code, count in letters.count_by_error().items():
        print(f"{count} left: {error_code}")


if __name__ == "__main__":
    main()
