"""Clinical values: what SR, CSV or REST say of a patient, checked, in one unit, by study."""
