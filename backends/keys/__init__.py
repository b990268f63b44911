"""Keys that never leave: made, turned and used here, sealed at rest."""
