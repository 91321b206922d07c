"""Least squares of many targets, and of few rows or features: one factor of the training rows of
every fold, in which the model at every strength, and the criterion with its derivatives, is a
product. `factors` has the factors, `left_out` the criteria, `search` the strengths of all targets
at once, `tuning` what of them a fit takes."""
