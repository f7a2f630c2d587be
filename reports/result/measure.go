package result

import "errors"

// CheckMeasure says what is wrong with the name of a measure, if anything is. Whether a run
// has something of it is another question.
func CheckMeasure(name string) error {
	if _, _, err := new(Result).measure(name); err != nil && !errors.Is(err, errNothing) {
		return err
	}
	return nil
}

// IsDuration tells whether a measure is counted in nanoseconds.
func IsDuration(name string) bool {
	_, u, err := new(Result).measure(name)
	return u == duration && (err == nil || errors.Is(err, errNothing))
}
