"""What stands under whatever is said of a radiograph."""

NOTICE = "For research only, not for diagnosis."
