package floe

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Config is the operator's configuration in the pipeline file. A key that nobody asks for is refused.
type Config struct {
	values map[string]json.RawMessage
	asked  map[string]bool
}

func parseConfig(text string) (*Config, error) {
	config := &Config{asked: map[string]bool{}}
	if err := json.Unmarshal([]byte(text), &config.values); err != nil {
		return nil, fmt.Errorf("the configuration is no JSON object: %w", err)
	}
	return config, nil
}

// Get reads a key into value, which keeps what it holds where the key is missing.
func (c *Config) Get(key string, value any) error {
	c.asked[key] = true
	raw, ok := c.values[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return fmt.Errorf("config.%s: %w", key, err)
	}
	return nil
}

func (c *Config) refuseUnread() error {
	var unread []string
	for key := range c.values {
		if !c.asked[key] {
			unread = append(unread, key)
		}
	}
	slices.Sort(unread)
	if len(unread) > 0 {
		return fmt.Errorf("the configuration has keys that this operator does not know: %s", strings.Join(unread, ", "))
	}
	return nil
}
