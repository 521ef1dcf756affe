"""What may identify the patient of a DICOM file is named, and no value of it."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxr.data.dicom_identity import REMOVED, REPLACED, TAGS, identity_warnings
from tests.builders import dicom, dicom_bytes

PIXELS = np.arange(400, dtype=np.uint8).reshape(20, 20)
ANONYMOUS = {"PatientName": None, "PatientID": None, "PatientBirthDate": None}
REMOVED_FLAG = {"PatientIdentityRemoved": "YES", "BurnedInAnnotation": "NO"}


def warnings(tmp_path: Path, **elements: object) -> list[str]:
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_bytes(dicom(PIXELS, **elements)))
    return identity_warnings(path)


def test_elements_with_a_value_are_named(tmp_path: Path) -> None:
    said = warnings(tmp_path, OtherPatientNames="Secret^Alias", InstitutionName="")
    assert said == [
        "has values in PatientName, PatientID, PatientBirthDate, OtherPatientNames",
        "PatientIdentityRemoved is not YES",
    ]


def test_a_removed_identity_may_have_dummies_where_the_profile_replaces(tmp_path: Path) -> None:
    assert warnings(tmp_path, **REMOVED_FLAG) == []
    said = warnings(tmp_path, **REMOVED_FLAG, PatientAddress="Secret Street 1")
    assert said == ["has values in PatientAddress"]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"BurnedInAnnotation": "YES"}, ["BurnedInAnnotation is YES"]),
        ({"RecognizableVisualFeatures": "YES"}, ["RecognizableVisualFeatures is YES"]),
        ({"BurnedInAnnotation": None}, []),
        ({"BurnedInAnnotation": None, "Modality": "SC"}, ["of modality SC"]),
        ({"BurnedInAnnotation": None, "Modality": ""}, ["of modality unknown"]),
        ({"Modality": "SC"}, []),
        ({"PatientIdentityRemoved": "NO", **ANONYMOUS}, ["PatientIdentityRemoved is not YES"]),
    ],
)
def test_flags(tmp_path: Path, elements: dict[str, str | None], expected: list[str]) -> None:
    stated = {keyword: value for keyword, value in (REMOVED_FLAG | elements).items() if value is not None}
    stated |= {keyword: None for keyword in elements if keyword in ANONYMOUS}
    said = warnings(tmp_path, **stated)
    assert len(said) == len(expected)
    assert all(part in line for part, line in zip(expected, said, strict=True))


def test_private_elements_are_counted(tmp_path: Path) -> None:
    dataset = dicom(PIXELS, **REMOVED_FLAG)
    block = dataset.private_block(0x0019, "Secret Vendor", create=True)
    block.add_new(1, "LO", "Secret^Name")
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_bytes(dataset))
    assert identity_warnings(path) == ["has values in 2 private elements"]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings(tmp_path: Path, syntax: str) -> None:
    dataset = dicom(PIXELS)
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_bytes(dataset))
    assert identity_warnings(path)[0] == "has values in PatientName, PatientID, PatientBirthDate"


def test_what_cannot_be_read_has_no_warning(tmp_path: Path) -> None:
    content = dicom_bytes(dicom(PIXELS))
    for name, data in {"cut": content[:200], "text": b"no image", "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        assert identity_warnings(tmp_path / name) == []
    assert identity_warnings(tmp_path) == []
    assert identity_warnings(tmp_path / "absent") == []


def test_every_keyword_is_in_the_dictionary() -> None:
    assert all(tag_for_keyword(keyword) for keyword in (*REPLACED, *REMOVED))
    assert all(TAGS)
    assert len(REPLACED + REMOVED) == 28  # as docs/dicom.md says
