"""Lesions: a variational autoencoder of lesion patches, and how likely each lesion is malignant."""
