"""Whether the folder of an ablation still holds what it wrote, and its effects follow from it."""

from __future__ import annotations

from cai.authoring.retraining.data import Sides
from cai.authoring.retraining.effects import effects_of
from cai.authoring.retraining.record import AblationRecord
from cai.authoring.retraining.run import data_folder
from cai.digest import file_digest
from cai.errors import DataError


def ablation_problems(record: AblationRecord) -> list[str]:
    """The data that was changed, and effects that are not those of the evaluations.

    The evaluations themselves, and the trainings, have records of their own. Raises `DataError` for
    values that an ablation does not write.
    """
    folder = data_folder(record.folder)
    problems = []
    for name, wanted in record.data.items():
        if not (folder / name).is_file():
            problems.append(f"data/{name}: the file is missing")
        elif file_digest(folder / name) != wanted:
            problems.append(f"data/{name}: its digest is not the record's: the file was changed")
    if not record.effects:
        return problems
    try:
        sides = Sides.read(folder, record.sides)
        found = effects_of(record.folder, sides, record.settings["seeds"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{record.folder / record.NAME} is damaged: {error!r}") from None
    if [effect.values for effect in found] != record.effects:
        problems.append(f"{record.NAME}: its effects are not those of the evaluations")
    return problems
