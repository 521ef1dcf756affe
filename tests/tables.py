"""Tables of small data sets in the layouts of ChestX-ray14, CheXpert, VinDr-CXR and MIMIC-CXR-JPG: files and
columns are named as published, and each has three to nine rows."""

from pathlib import Path

NIH = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly|Pneumonia,0,1,058Y,M,PA,2682,2749,0.143,0.143,
00000001_001.png,No Finding,1,1,058Y,M,PA,2894,2729,0.143,0.143,
00000002_000.png,Pneumonia,0,2,081Y,M,AP,2500,2048,0.171,0.171,
00000003_000.png,No Finding,0,3,081Y,F,PA,2582,2991,0.143,0.143,
00000003_001.png,Hernia,1,3,074Y,F,PA,2500,2048,0.168,0.168,
"""
NIH_TRAIN = "00000001_000.png\n00000001_001.png\n"
NIH_TEST = "00000002_000.png\r\n00000003_000.png\r\n00000003_001.png\r\n"
FINDINGS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,"
    "Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
CHEXPERT = f"""\
Path,Sex,Age,Frontal/Lateral,AP/PA,{FINDINGS}
CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0
CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Female,87,Frontal,AP,,,,,,,,1.0,,,1.0,,,
CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Female,87,Lateral,,,,,,,,,1.0,,,1.0,,,
CheXpert-v1.0-small/train/patient00003/study2/view1_frontal.jpg,Male,41,Frontal,AP,,,,,,1.0,,-1.0,,,,,,
CheXpert-v1.0-small/train/patient00004/study1/view1_frontal.jpg,Female,20,Frontal,PA,,,,,,,,0.0,,1.0,,,,
"""
CHEXPERT_VALID = f"""\
Path,Sex,Age,Frontal/Lateral,AP/PA,{FINDINGS}
CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0
CheXpert-v1.0-small/valid/patient64542/study1/view1_frontal.jpg,Male,70,Frontal,PA,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0
CheXpert-v1.0-small/valid/patient64542/study1/view2_lateral.jpg,Male,70,Lateral,,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0
"""
VINDR = "Edema,Pneumonia,Tuberculosis,Other diseases,No finding"
VINDR_TRAIN = f"""\
image_id,rad_ID,{VINDR}
aa,R1,0,1,0,0,0
bb,R1,0,0,0,0,1
aa,R2,0,1,0,0,0
bb,R2,0,0,0,0,1
aa,R3,0,0,0,0,1
cc,R3,0,1,0,0,0
cc,R4,0,0,0,0,1
cc,R5,0,0,0,0,1
bb,R3,1,0,0,0,0
"""
VINDR_TEST = f"image_id,{VINDR}\nee,0,1,0,0,0\nff,0,0,0,0,1\ngg,1,0,0,0,0\n"
MIMIC_LABELS = """\
subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,\
Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices
10000032,50414267,,,,,,,,,1.0,,,,,
10000764,57375967,,,1.0,,,,,,,,,-1.0,,
11000001,50000001,,,,,,,,,,,,1.0,,
11000002,50000002,,,,,,,,,1.0,,,,,
11000003,50000003,,,,,,,,,,,,1.0,,
"""
MIMIC_SPLIT = """\
dicom_id,study_id,subject_id,split
aa-1,50414267,10000032,train
aa-2,50414267,10000032,train
bb-1,57375967,10000764,train
cc-1,50000001,11000001,train
dd-1,50000002,11000002,validate
ee-1,50000003,11000003,validate
ff-1,50000009,11000009,test
"""
MIMIC_METADATA = """\
dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime
aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531
aa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531
bb-1,10000764,57375967,CHEST (PA AND LAT),AP,2705,2539,21321015,83750.578
cc-1,11000001,50000001,"CHEST (PORTABLE AP), one view",AP,2705,2539,21321015,83750.578
dd-1,11000002,50000002,CHEST,PA,2705,2539,21321015,83750.578
ee-1,11000003,50000003,CHEST,PA,2705,2539,21321015,83750.578
ff-1,11000009,50000009,CHEST,PA,2705,2539,21321015,83750.578
"""


def write_nih(folder: Path) -> None:
    _write(folder, {"Data_Entry_2017.csv": NIH, "train_val_list.txt": NIH_TRAIN, "test_list.txt": NIH_TEST})


def write_chexpert(folder: Path) -> None:
    _write(folder, {"train.csv": CHEXPERT, "valid.csv": CHEXPERT_VALID})


def write_vindr(folder: Path) -> None:
    _write(folder, {"image_labels_train.csv": VINDR_TRAIN, "image_labels_test.csv": VINDR_TEST})


def write_mimic(folder: Path) -> None:
    tables = {"chexpert": MIMIC_LABELS, "split": MIMIC_SPLIT, "metadata": MIMIC_METADATA}
    _write(folder, {f"mimic-cxr-2.0.0-{name}.csv": text for name, text in tables.items()})


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
