"""Series of measured values, kept for as long as they are of use, in ever coarser steps."""
