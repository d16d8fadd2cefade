"""Messages kept in the application's own database until its transaction has been committed."""
