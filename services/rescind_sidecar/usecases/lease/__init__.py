"""The enrolment and the lease of an instance."""
