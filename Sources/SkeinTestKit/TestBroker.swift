/// A real broker inside a user's test process: begins here.
public enum TestBroker {}
