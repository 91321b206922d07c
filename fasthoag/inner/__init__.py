"""The inner problem's algorithms: `solve` picks the solver, `newton` and `cg` are the algorithms,
`precond` the preconditioners."""
