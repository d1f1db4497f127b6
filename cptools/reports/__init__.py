"""Reports of probes: records, conditions over seeds, tables, one page. No terminal, no torch."""
