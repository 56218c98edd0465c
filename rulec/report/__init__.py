"""Tables, figures and TensorBoard events from the records of `rulec.meta`."""
