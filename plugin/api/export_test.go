package api

// LeastRole is the table of routes and what each asks for.
func LeastRole() map[string]Role { return leastRole() }
