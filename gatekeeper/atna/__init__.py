"""DICOM audit messages (PS3.15 A.5): who did what to which study, told to the site's repository.

Off unless ``audit.host`` is set. An event becomes a message (`events`, `alerts`, `message`), waits
durably in an outbox (`outbox`), most of them derived from what the database holds anyway
(`derived`), and goes by syslog over TLS or UDP (`syslog`, `line`, `reporter`).
"""
