package floe

import (
	"encoding/json"
	"errors"
	"fmt"
)

// StateTeller is an Operator that tells its state, for `floe state` and `floe upgrade`: what ExportState gives
// goes through encoding/json, whose maps are in the order of their keys, so that equal states are told alike.
type StateTeller interface {
	ExportState() (any, error)
}

// StateTaker is an Operator that takes a state that this operator told, in this version or in another; state is
// JSON. It is called after Open and before any row. An error refuses the state.
type StateTaker interface {
	ImportState(version uint32, state []byte) error
}

func exportState() ([]byte, error) {
	operator, ok := module.operator.(StateTeller)
	if !ok {
		return nil, errors.New("this operator has no export_state: give it the method ExportState")
	}
	state, err := operator.ExportState()
	if err != nil {
		return nil, err
	}
	return json.Marshal(state)
}

func importState(version uint32, state []byte) error {
	operator, ok := module.operator.(StateTaker)
	if !ok {
		return errors.New("this operator has no import_state: give it the method ImportState")
	}
	if err := operator.ImportState(version, state); err != nil {
		return fmt.Errorf("the state of version %d: %w", version, err)
	}
	return nil
}
