// kstatus tells what the library of that name, by which Flux and Helm wait, makes of objects: from standard input, a list of
// objects in JSON; to standard output, the list of their states.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	states, err := read()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(states)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func read() ([]status.Status, error) {
	var objects []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return nil, err
	}
	var states []status.Status
	for _, text := range objects {
		// Not by encoding/json alone: the library wants whole numbers as int64.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		result, err := status.Compute(object)
		if err != nil {
			return nil, err
		}
		states = append(states, result.Status)
	}
	return states, nil
}
