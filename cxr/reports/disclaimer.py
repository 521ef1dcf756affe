"""The notice that accompanies every output about a radiograph."""

NOTICE = "For research only, not for diagnosis."
