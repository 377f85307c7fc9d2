"""What may be wrong with the picture of a camera that is live."""

from enum import StrEnum


class PictureNote(StrEnum):
    """Stands beside the state: the camera is live, and its frames go on into its memory."""

    PICTURE_BLACK = "picture_black"
    PICTURE_FROZEN = "picture_frozen"
    SCENE_CHANGED = "scene_changed"  # turned, covered, sprayed or out of focus
