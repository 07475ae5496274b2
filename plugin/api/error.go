package api

// Error is what the API answers instead of a result, and what every method of Client returns. Message
// is a sentence for the person who asked, with the remedy; the daemon's log has the whole chain under
// RequestID.
type Error struct {
	Code      string `json:"code" doc:"A stable word for programs" example:"image_not_found"`
	Message   string `json:"message" doc:"What is wrong and what helps, for people"`
	Status    int    `json:"status,omitempty" doc:"The HTTP status, repeated for streams"`
	Retryable bool   `json:"retryable" doc:"The same request may succeed later"`
	RequestID string `json:"request_id,omitempty" doc:"Finds the cause in the daemon's log"`

	Rule  string `json:"rule,omitempty" doc:"image_refused: the rule that the image broke"`
	Field string `json:"field,omitempty" doc:"image_refused: the header field; bad_request: the field of the request"`
	Value string `json:"value,omitempty" doc:"image_refused: what was found there"`
}

func (e *Error) Error() string { return e.Message }
