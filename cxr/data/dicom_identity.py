"""Does a DICOM file still identify its patient? By which elements have a value; the values are not read.

These are a selection of what the basic profile of PS3.15 annex E (table E.1-1) removes or replaces: elements
that name a person or a record, and private ones. A file that passes is not thereby de-identified:
descriptions, devices, dates, UIDs and what is inside sequences are not looked at, and no pixel is.
"""

from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from cxr.core.errors import UserError
from cxr.data.dicom import open_dicom
from cxr.data.dicom_elements import DAMAGE, PIXEL_DATA
from cxr.data.radiograph import MAX_PIXELS, is_dicom

# The profile replaces these by a dummy value or none, and removes the others.
REPLACED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "ReferringPhysicianName",
)
REMOVED = (
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "AdditionalPatientHistory",
    "MedicalRecordLocator",
    "MilitaryRank",
    "EthnicGroup",
    "Occupation",
    "ResponsiblePerson",
    "AdmissionID",
    "InstitutionName",
    "InstitutionAddress",
    "OperatorsName",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "RequestingPhysician",
)
FLAGS = ("PatientIdentityRemoved", "BurnedInAnnotation", "RecognizableVisualFeatures", "Modality")
TAGS: list[BaseTag | int] = [tag_for_keyword(keyword) or 0 for keyword in FLAGS]
# Digitised films and screen captures, which often show a name; CR and DX are made by the detector.
LIKELY_ANNOTATED = ("HC", "OT", "SC", "")


def identity_warnings(path: Path) -> list[str]:
    """What in a file may identify its patient, in words without any value. Empty for a file that is not
    DICOM, and for one that cannot be read, which reading it reports."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as stream:
            if not is_dicom(stream):
                return []
            content = stream.read()
        file, _ = open_dicom(content, MAX_PIXELS)
        present: list[BaseTag] = []

        def note(tag: BaseTag, _: str | None, length: int) -> bool:
            if length:
                present.append(tag)
            return tag >= PIXEL_DATA

        return _warnings(read_partial(file, stop_when=note, specific_tags=TAGS), present)
    except (UserError, *DAMAGE):
        return []


def _warnings(flags: Dataset, present: list[BaseTag]) -> list[str]:
    """present: tags of the elements that have a value."""
    removed = _flag(flags, "PatientIdentityRemoved") == "YES"
    searched = REMOVED if removed else REPLACED + REMOVED
    keywords = {keyword_for_tag(tag) for tag in present}
    found = [keyword for keyword in searched if keyword in keywords]
    if private := sum(tag.is_private for tag in present):
        found.append(f"{private} private elements")
    warnings = [f"has values in {', '.join(found)}"] if found else []
    if not removed:
        warnings.append("PatientIdentityRemoved is not YES")
    annotated = _flag(flags, "BurnedInAnnotation")
    if annotated == "YES":
        warnings.append("BurnedInAnnotation is YES")
    elif annotated != "NO" and (modality := _flag(flags, "Modality")) in LIKELY_ANNOTATED:
        warnings.append(f"does not state BurnedInAnnotation, of modality {modality or 'unknown'}")
    if _flag(flags, "RecognizableVisualFeatures") == "YES":
        warnings.append("RecognizableVisualFeatures is YES")
    return warnings


def _flag(flags: Dataset, keyword: str) -> str:
    return str(flags.get(keyword) or "")
