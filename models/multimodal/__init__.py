"""Image and function together: how far a patient's scan and clinical values lie from a cohort's.

A frozen encoder's embedding of the scan and standardised clinical variables go through one small
variational autoencoder (Ghimus et al., Multimodal autoencoder-based anomaly detection reveals
clinical-radiologic heterogeneity in pulmonary fibrosis, Medical Sciences 2026, 14(1):76). What it
cannot reproduce is atypical, which is not the same as severe. Beyond the paper: missing values are
modelled and never imputed, scores are cross-fitted beside the in-sample ones, and every variable's
contribution is exact.
"""
