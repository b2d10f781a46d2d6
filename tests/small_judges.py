"""Data of judges that are trained within seconds."""

#: Seeds of patients, and sizes, for `ct_keras.tasks.organ_slices`.
ORGANS = {"train": (1, 3), "test": (3, 5), "slices": 2, "pixels": 64, "doses": (1.0,)}
#: The same for `ct_keras.tasks.lesion_crops`.
LESIONS = ORGANS | {"pixels": 128, "draws": 1}
