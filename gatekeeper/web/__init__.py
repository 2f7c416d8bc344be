"""The web role: DICOMweb in (PS3.18). It needs the extra `web`; nothing else imports it."""
