"""The texts of the page, in English and Korean."""

from pipeline.report.reason_texts import ENGLISH, KOREAN

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "title": "export report", "project": "Project", "next": "What to do next", "warnings": "Warnings",
        "books": "Books", "books_note": "Everything that was seen is written, skipped by a rule, or failed. "
        "Changed ones are among the written ones.",
        "seen": "seen", "written": "written", "changed": "changed", "skipped": "skipped", "failed": "failed",
        "corrected": "corrected", "records": "records", "record": "Record", "annotations": "annotations",
        "originals": "original files", "samples_of": "{}: samples", "annotations_of": "{}: annotations",
        "losses": "Skipped and changed, by reason", "where": "where", "what": "what", "number": "number",
        "why": "why", "failures": "Failures and corrections", "outcome": "outcome",
        "failures_note": "The first of metadata/failures.jsonl.", "measures": "Images and objects",
        "not_measured": "This export holds no metadata/statistics.json: it has no usable image, was made with "
        "report: false, or by an earlier version.",
        "classes": "Class balance", "classes_tile": "classes", "class": "class", "objects": "objects",
        "images": "images", "splits": "splits",
        "classes_note": "An object is a box, polygon, line, mask, or the class of a whole image. small, medium, large: "
        "the area of the upright box around it, below 32² and 96² pixels (COCO), and above.",
        "small": "small", "medium": "medium", "large": "large", "bytes": "of images and label files",
        "more_classes": "{} more classes are in metadata/statistics.json.",
        "rare": "Classes with fewer than {0} objects: {1}", "one_split": "Classes in one split only: {}",
        "unused": "Classes without an object: {}", "per_image": "Objects per image", "sides": "Box sizes",
        "sides_note": "The side of a square of the same area, in pixels.", "aspects": "Aspect ratios of boxes",
        "aspects_note": "Width divided by height.", "positions": "Where boxes are",
        "positions_note": "The centres of boxes on an image; the darker, the more.", "sizes": "Image sizes",
        "sizes_note": "Width x height in pixels, each rounded down to a power of two.", "formats": "File formats",
        "orientations": "EXIF orientation", "orientations_note": "1 is upright; other images are stored turned.",
        "points": "Keypoints", "point": "keypoint", "missing": "missing", "occluded": "occluded", "visible": "visible",
        "kinds": "Annotations by shape", "samples": "Samples", "hidden": "{} annotations are not drawn",
        "samples_note": "Chosen by a hash of the record, one of every class first.",
        "no_originals": "The export keeps no original files (save_original_file: false), "
        "so there is no picture to show.",
        "no_pictures": "None of the chosen images could be read from the export.",
        "alt": "Image of record {0} with {1} annotations: {2}", "findings": "Data quality",
        "findings_note": "Worth a look; no finding changes the data. The first records of each are named.",
        "finding": "finding", "no_findings": "Nothing was found.", "duplicates": "Duplicates and leaks",
        "duplicates_none": "{} originals were compared by their sha256: no two are the same, "
        "so no image is in two splits.",
        "duplicates_some": "{} originals were compared by their sha256: {} files are copies of {} pictures; "
        "{} of these is in more than one split.",
        "duplicates_more": "The first rows of metadata/duplicates.csv.", "made": "How it was made",
        "seconds": "Seconds by stage", "versions": "Versions", "config": "Configuration",
        "good": "Complete: every record is exported, and the books balance.",
        "partial": "Complete, but {0} of {1} records failed.", "empty": "Complete, and empty: no record matched.",
        "retry": "Try the failed records again:", "verify": "Prove that nothing is missing or damaged:",
        "read": "Read {}:", "tiny_box": "boxes with a side below 4 pixels",
        "whole_image_box": "boxes that cover the whole image",
        "duplicate_annotation": "annotations that repeat another one of their image exactly",
        "crossing_polygon": "polygons that cross or touch themselves", "empty_image": "images without annotations",
        "empty_in": "images without annotations in category {}",
        "outside_image": "annotations outside their image", "similar_classes": "classes that differ only in case or "
        "spaces: {}", "described": "{0}. Most: {1} at {2}.", "map_described": "{0}: {1} boxes.",
    },
    "ko": {
        "title": "내보내기 보고서", "project": "프로젝트", "next": "다음 단계", "warnings": "경고", "books": "장부",
        "books_note": "확인된 모든 항목은 기록되었거나, 규칙에 따라 제외되었거나, 실패했습니다. "
        "변경된 항목은 기록된 항목에 포함됩니다.",
        "seen": "확인", "written": "기록", "changed": "변경", "skipped": "제외", "failed": "실패", "corrected": "교정",
        "records": "레코드", "record": "레코드", "annotations": "어노테이션", "originals": "원본 파일",
        "samples_of": "{}: 샘플", "annotations_of": "{}: 어노테이션", "losses": "제외 및 변경 사유", "where": "위치",
        "what": "종류", "number": "개수", "why": "사유", "failures": "실패 및 교정", "outcome": "결과",
        "failures_note": "metadata/failures.jsonl의 처음 항목입니다.", "measures": "이미지와 객체",
        "not_measured": "이 내보내기에는 metadata/statistics.json이 없습니다. 사용할 수 있는 이미지가 없거나, "
        "report: false로 만들었거나, 이전 버전으로 만든 것입니다.",
        "classes": "클래스 분포", "classes_tile": "클래스", "class": "클래스", "objects": "객체",
        "images": "이미지", "splits": "분할",
        "classes_note": "객체는 박스, 폴리곤, 선, 마스크 또는 이미지 전체의 클래스입니다. 소형, 중형, 대형은 객체를 "
        "둘러싼 수직 박스의 면적이 32², 96² 픽셀(COCO) 미만인지 이상인지를 나타냅니다.",
        "small": "소형", "medium": "중형", "large": "대형", "bytes": "이미지와 라벨 파일",
        "more_classes": "나머지 클래스 {}개는 metadata/statistics.json에 있습니다.",
        "rare": "객체가 {0}개 미만인 클래스: {1}", "one_split": "한 분할에만 있는 클래스: {}",
        "unused": "객체가 없는 클래스: {}", "per_image": "이미지당 객체 수", "sides": "박스 크기",
        "sides_note": "같은 면적의 정사각형 한 변의 길이(픽셀)입니다.", "aspects": "박스 가로세로 비율",
        "aspects_note": "너비를 높이로 나눈 값입니다.", "positions": "박스 위치",
        "positions_note": "이미지 안의 박스 중심입니다. 진할수록 많습니다.", "sizes": "이미지 크기",
        "sizes_note": "너비 x 높이(픽셀)를 각각 2의 거듭제곱으로 내림한 값입니다.", "formats": "파일 형식",
        "orientations": "EXIF 방향",
        "orientations_note": "1은 바로 선 이미지이고, 나머지는 회전되어 저장된 이미지입니다.",
        "points": "키포인트", "point": "키포인트", "missing": "없음", "occluded": "가려짐", "visible": "보임",
        "kinds": "도형별 어노테이션", "samples": "샘플", "hidden": "그리지 않은 어노테이션 {}개",
        "samples_note": "레코드의 해시로 고르며, 모든 클래스를 먼저 하나씩 고릅니다.",
        "no_originals": "원본 파일을 저장하지 않아(save_original_file: false) 보여 줄 이미지가 없습니다.",
        "no_pictures": "선택한 이미지를 내보내기에서 읽을 수 없습니다.",
        "alt": "레코드 {0}의 이미지, 어노테이션 {1}개: {2}", "findings": "데이터 품질",
        "findings_note": "확인할 만한 항목이며 데이터를 바꾸지 않습니다. 항목마다 처음 레코드를 표시합니다.",
        "finding": "항목", "no_findings": "발견된 항목이 없습니다.", "duplicates": "중복과 누출",
        "duplicates_none": "원본 {}개를 sha256으로 비교했습니다. 같은 것이 없으므로 두 분할에 걸친 이미지도 없습니다.",
        "duplicates_some": "원본 {}개를 sha256으로 비교했습니다. 파일 {}개가 그림 {}개의 사본이며, "
        "그중 {}개는 둘 이상의 분할에 있습니다.",
        "duplicates_more": "metadata/duplicates.csv의 처음 행입니다.", "made": "생성 정보",
        "seconds": "단계별 시간(초)",
        "versions": "버전", "config": "설정",
        "good": "완료: 모든 레코드를 내보냈고 장부가 일치합니다.",
        "partial": "완료되었지만 레코드 {1}개 중 {0}개가 실패했습니다.",
        "empty": "완료되었지만 일치하는 레코드가 없습니다.",
        "retry": "실패한 레코드를 다시 시도합니다:", "verify": "빠지거나 손상된 파일이 없는지 확인합니다:",
        "read": "{} 읽기:", "tiny_box": "한 변이 4픽셀 미만인 박스", "whole_image_box": "이미지 전체를 덮는 박스",
        "duplicate_annotation": "같은 이미지의 다른 어노테이션과 똑같은 어노테이션",
        "crossing_polygon": "자기 자신과 교차하거나 닿는 폴리곤", "empty_image": "어노테이션이 없는 이미지",
        "empty_in": "카테고리 {}에서 어노테이션이 없는 이미지", "outside_image": "이미지 밖에 있는 어노테이션",
        "similar_classes": "대소문자나 공백만 다른 클래스: {}", "described": "{0}. 최댓값: {2}에서 {1}.",
        "map_described": "{0}: 박스 {1}개.",
    },
}  # fmt: skip


def reason_in_words(reason: str, language: str) -> str:
    """Return what a reason code means, ``""`` for a code that a format of the user's own has."""
    return (KOREAN if language == "ko" else ENGLISH).get(reason, "")
