"""Soon."""
import diagnosis_cases.setups
