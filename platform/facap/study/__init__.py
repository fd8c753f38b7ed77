"""The paper's claims, tested: many small trainings under equal budgets on drawn garments, one table."""
