"""The methods of the papers on tensors: no files, no terminal, no global random state."""
